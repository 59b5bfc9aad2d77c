// Runs before anything is painted: light or dark as was chosen here before, else as the system has it.
try {
  const chosen = localStorage.getItem("tuner-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden: then the system decides */ }
