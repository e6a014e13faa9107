"""The command of ``kvae_tf.apps.commands.report``, from a clone."""

from kvae_tf.apps.commands import report

if __name__ == "__main__":
    report.main()
