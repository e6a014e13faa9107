"""The command of ``kvae_tf.apps.commands.train``, from a clone."""

from kvae_tf.apps.commands import train

if __name__ == "__main__":
    train.main()
