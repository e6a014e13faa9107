"""The command of ``kvae_tf.apps.commands.device_check``, from a clone."""

from kvae_tf.apps.commands import device_check

if __name__ == "__main__":
    device_check.main()
