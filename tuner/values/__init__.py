"""Values as they come from a call, stand on record, and are read by a person."""
