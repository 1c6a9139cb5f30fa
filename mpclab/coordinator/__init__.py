"""The coordinator: propose, vote, commit, execute, remember."""
