"""The stages: folders run, files compute."""
