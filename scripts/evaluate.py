"""The command of ``kvae_tf.apps.commands.evaluate``, from a clone."""

from kvae_tf.apps.commands import evaluate

if __name__ == "__main__":
    evaluate.main()
