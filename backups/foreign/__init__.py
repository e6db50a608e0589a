"""What other tools keep of a server: read, judged and shown, never changed."""
