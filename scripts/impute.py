"""The command of ``kvae_tf.apps.commands.impute``, from a clone."""

from kvae_tf.apps.commands import impute

if __name__ == "__main__":
    impute.main()
