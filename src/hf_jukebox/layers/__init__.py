"""The parts of the networks. They are built from numbers, and know neither a config file nor the disk."""
