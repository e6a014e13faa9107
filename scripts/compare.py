"""The command of ``kvae_tf.apps.commands.compare``, from a clone."""

from kvae_tf.apps.commands import compare

if __name__ == "__main__":
    compare.main()
