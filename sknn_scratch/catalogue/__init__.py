"""What a network can be made of: activations, links, losses, optimisers, schedules and initialisers."""
