"""How a candidate is judged: fresh, by a licence, by the baseline; rehearsals and the weekly contest."""
