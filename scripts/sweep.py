"""The command of ``kvae_tf.apps.commands.sweep``, from a clone."""

from kvae_tf.apps.commands import sweep

if __name__ == "__main__":
    sweep.main()
