"""Medians, tables, and the plot for the README."""

import math
import statistics

COLOURS = {"floor": "#8a8f98", "pair": "#1f6feb"}


def medians(rounds):
    """The median of each figure over the rounds of one point."""
    result = {name: statistics.median(each[name] for each in rounds) for name in ("p50_us", "p99_us", "p99_9_us", "rate")}
    for group in ("cpu_us", "memory_mb"):
        result[group] = {name: statistics.median(each[group][name] for each in rounds if name in each[group])
                         for name in rounds[-1][group]}
    return result


def milliseconds(microseconds):
    return f"{microseconds / 1000:.2f}"


def table(headings, rows):
    """A Markdown table with aligned columns; numbers to the right."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(len(row[column]) for row in [list(headings), *cells]) for column in range(len(headings))]

    def line(row):
        padded = (f"{cell:{'>' if column else '<'}{widths[column]}}" for column, cell in enumerate(row))
        return "| " + " | ".join(padded) + " |"
    rule = "|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(headings), rule, *map(line, cells)])


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Bars:
    """A group of bars per point, one bar per series, its value written on it; heights are logarithmic."""

    WIDTH, HEIGHT, MARGIN, FOOT = 360, 230, 40, 46

    def __init__(self, title, points, series, text_of):
        self.title, self.points, self.series, self.text_of = title, points, series, text_of

    def draw(self, left):
        values = [value for each in self.series.values() for value in each]
        low, high = min(values) / 2, max(values)
        parts = [f'<text x="{left + self.WIDTH / 2}" y="20" text-anchor="middle" font-weight="bold">'
                 f"{escape(self.title)}</text>"]
        base, room = self.HEIGHT - self.FOOT, self.HEIGHT - self.FOOT - self.MARGIN - 12
        slot = (self.WIDTH - 40) / len(self.points)
        bar = slot * 0.8 / len(self.series)
        for number, point in enumerate(self.points):
            start = left + 20 + number * slot + slot * 0.1
            parts.append(f'<text x="{start + slot * 0.4:.1f}" y="{base + 16}" text-anchor="middle">{escape(point)}</text>')
            for place, (name, each) in enumerate(self.series.items()):
                height = room * self.fraction(each[number], low, high)
                x, y = start + place * bar, base - height
                parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar - 3:.1f}" height="{height:.1f}" rx="2" '
                             f'fill="{COLOURS.get(name, "#57606a")}"/>')
                parts.append(f'<text x="{x + bar / 2 - 1.5:.1f}" y="{y - 4:.1f}" text-anchor="middle" font-size="10">'
                             f'{escape(self.text_of(each[number]))}</text>')
        parts.append(f'<line x1="{left + 15}" x2="{left + self.WIDTH - 15}" y1="{base}" y2="{base}" stroke="#8a8f98"/>')
        return parts

    @staticmethod
    def fraction(value, low, high):
        """Of the full height; logarithmic, so that a millisecond and a second fit on one page."""
        return math.log(value / low) / math.log(high / low) if high > low and value > low else 0.02


def plot(panels, names, caption):
    """An SVG of panels side by side with one legend; readable on light and dark pages."""
    width, height = Bars.WIDTH * len(panels), Bars.HEIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
             'font-family="system-ui, sans-serif" font-size="12" fill="#57606a">',
             f"<title>{escape(caption)}</title>"]
    for number, panel in enumerate(panels):
        parts += panel.draw(number * Bars.WIDTH)
    x = 20
    for name, words in names.items():
        parts.append(f'<rect x="{x}" y="{height - 18}" width="12" height="12" rx="2" fill="{COLOURS.get(name, "#57606a")}"/>')
        parts.append(f'<text x="{x + 18}" y="{height - 8}">{escape(words)}</text>')
        x += 30 + 7 * len(words)
    parts.append(f'<text x="{width - 20}" y="{height - 8}" text-anchor="end">{escape(caption)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
