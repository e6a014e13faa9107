"""The command of ``kvae_tf.apps.commands.forecast``, from a clone."""

from kvae_tf.apps.commands import forecast

if __name__ == "__main__":
    forecast.main()
