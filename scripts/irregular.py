"""The command of ``kvae_tf.apps.commands.irregular``, from a clone."""

from kvae_tf.apps.commands import irregular

if __name__ == "__main__":
    irregular.main()
