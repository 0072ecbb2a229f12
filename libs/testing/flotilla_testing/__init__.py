"""What Flotilla's tests run on: real stacks, registries, test images and a leak census."""
