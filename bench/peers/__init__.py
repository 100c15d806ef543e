"""Other systems that do comparable work, installed and run beside ours in the same command."""
