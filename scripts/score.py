"""The command of ``kvae_tf.apps.commands.score``, from a clone."""

from kvae_tf.apps.commands import score

if __name__ == "__main__":
    score.main()
