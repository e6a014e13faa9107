"""The command of ``kvae_tf.apps.commands.simulate``, from a clone."""

from kvae_tf.apps.commands import simulate

if __name__ == "__main__":
    simulate.main()
