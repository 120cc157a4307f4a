"""What models and remote executors said (`calls`, in `files`), and decisions out of a file, given again in a replay."""
