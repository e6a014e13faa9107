"""The command of ``kvae_tf.apps.commands.compare_filling``, from a clone."""

from kvae_tf.apps.commands import compare_filling

if __name__ == "__main__":
    compare_filling.main()
