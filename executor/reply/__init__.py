"""Replies of models: `parser` reads them strictly, else loosely; `reask` asks for a second one."""
