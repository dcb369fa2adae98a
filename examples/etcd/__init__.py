"""etcd as an image for syscontainers, in two versions."""
