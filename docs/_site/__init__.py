"""Parts of the documentation site that are made by code: structure, references, drawings, notebooks, llms.txt."""
