"""The command of ``kvae_tf.apps.commands.control``, from a clone."""

from kvae_tf.apps.commands import control

if __name__ == "__main__":
    control.main()
