"""The command of ``kvae_tf.apps.commands.export_litert``, from a clone."""

from kvae_tf.apps.commands import export_litert

if __name__ == "__main__":
    export_litert.main()
