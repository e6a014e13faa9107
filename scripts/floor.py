"""The command of ``kvae_tf.apps.commands.floor``, from a clone."""

from kvae_tf.apps.commands import floor

if __name__ == "__main__":
    floor.main()
