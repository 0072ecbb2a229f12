"""The Docker Engine API's vocabulary: models, records, filters, framings. No I/O."""
