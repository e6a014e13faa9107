"""The command of ``kvae_tf.apps.commands.benchmark``, from a clone."""

from kvae_tf.apps.commands import benchmark

if __name__ == "__main__":
    benchmark.main()
