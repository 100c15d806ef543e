"""What an author of chain agents imports, through `apocryph`. Knows no blocks and no stores."""
