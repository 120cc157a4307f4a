"""What model calls cost: meters, budgets and the incidents of budgets."""
