"""Playing: agents meet environments here."""
