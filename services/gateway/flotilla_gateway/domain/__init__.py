"""What the gateway decides: rules on the fleet's objects, without HTTP and without SQL."""
