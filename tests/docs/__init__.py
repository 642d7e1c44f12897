"""What the documentation says, run: its code blocks, its links, its site."""
