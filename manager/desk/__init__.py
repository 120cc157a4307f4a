"""The stages of a round: pure functions over frozen values, and the submission that is not."""
