"""The ground floor: every artefact that stages hand each other, and the store they lie in."""
