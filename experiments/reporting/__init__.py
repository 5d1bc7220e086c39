"""Tables, charts and pictures made from what runs left on disk."""
