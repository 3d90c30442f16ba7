import type { Field } from '../read/field.ts';

/** metav1.LabelSelector. What cannot be understood selects nothing. */
export function selects(selector: Field, labels: Readonly<Record<string, string>>): boolean {
  if (!selector.isObject() || !selector.only(['matchLabels', 'matchExpressions'])) return false;
  const labelOf = (name: string) => (Object.hasOwn(labels, name) ? labels[name] : undefined);
  const byLabels = selector
    .get('matchLabels')
    .entries()
    .every(([name, value]) => labelOf(name) === value.value);
  return (
    byLabels &&
    selector
      .get('matchExpressions')
      .items()
      .every((item) => holds(item, labelOf))
  );
}

function holds(expression: Field, labelOf: (name: string) => string | undefined): boolean {
  expression.only(['key', 'operator', 'values']);
  const key = expression.get('key').name();
  const operator = expression.get('operator').oneOf(['In', 'NotIn', 'Exists', 'DoesNotExist']);
  if (key === undefined || operator === undefined) return false;
  const label = labelOf(key);
  const values = expression.get('values').texts();
  switch (operator) {
    case 'In':
      return label !== undefined && values.includes(label);
    case 'NotIn':
      return label === undefined || !values.includes(label);
    case 'Exists':
      return label !== undefined;
    case 'DoesNotExist':
      return label === undefined;
  }
}
