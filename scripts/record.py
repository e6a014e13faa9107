"""The command of ``kvae_tf.apps.commands.record``, from a clone."""

from kvae_tf.apps.commands import record

if __name__ == "__main__":
    record.main()
