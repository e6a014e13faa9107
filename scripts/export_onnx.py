"""The command of ``kvae_tf.apps.commands.export_onnx``, from a clone."""

from kvae_tf.apps.commands import export_onnx

if __name__ == "__main__":
    export_onnx.main()
