// Sets the colours that the reader chose before the page is painted; a classic script,
// because a module would come after the first paint.
(() => {
  const chosen = window.localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') {
    document.documentElement.dataset.theme = chosen;
  }
})();
