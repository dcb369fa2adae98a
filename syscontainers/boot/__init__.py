"""What the host should run, and making it so."""
