// Before the page is painted: the colours that were chosen here last time. Without a choice they are those of the system.

try {
  const chosen = localStorage.getItem("sandbox.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // storage is off: the system's colours
}
