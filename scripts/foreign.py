"""The command of ``kvae_tf.apps.commands.foreign``, from a clone."""

from kvae_tf.apps.commands import foreign

if __name__ == "__main__":
    foreign.main()
