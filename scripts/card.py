"""The command of ``kvae_tf.apps.commands.card``, from a clone."""

from kvae_tf.apps.commands import card

if __name__ == "__main__":
    card.main()
