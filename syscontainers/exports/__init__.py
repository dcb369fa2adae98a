"""What an image says about running it: templates, values, defaults, runtime configuration."""
