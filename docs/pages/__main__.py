"""Write the pages that differ from the code, and say which."""

import sys

from pages import commands, config, incident_codes, risk_codes

for page in (commands, config, incident_codes, risk_codes):
    text = page.render()
    if page.PAGE.read_text(encoding="utf-8") != text:
        page.PAGE.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{page.PAGE} is written anew\n")
