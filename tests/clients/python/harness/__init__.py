"""What the tests stand on: a server, a proxy before it, and the official clients."""
