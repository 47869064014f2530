"""Parts of the output regulariser: penalties of single heads."""
