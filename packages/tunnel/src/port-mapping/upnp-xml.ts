/** A service of a router that can map ports. */
export interface WanService {
  readonly serviceType: string;
  /** Where its actions are called, absolute or relative. */
  readonly controlUrl: string;
}

/** Services that map ports, in the order of preference. */
const WAN_SERVICES = [
  'urn:schemas-upnp-org:service:WANIPConnection:2',
  'urn:schemas-upnp-org:service:WANIPConnection:1',
  'urn:schemas-upnp-org:service:WANPPPConnection:1',
];

/**
 * The text of the first element of this name, without elements inside; undefined where there is none. Device descriptions and
 * SOAP answers are flat where it matters, so no parser is needed; prefixes (`s:Fault`) are ignored.
 */
export function textOf(xml: string, element: string): string | undefined {
  const match = new RegExp(`<(?:[\\w-]+:)?${element}(?:\\s[^>]*)?>([^<]*)</`).exec(xml);
  return match === null ? undefined : unescapeXml((match[1] as string).trim());
}

/** The services of a device description that map ports, best first. */
export function wanServices(description: string): WanService[] {
  const found = description.split(/<service>/).slice(1);
  const services = found.flatMap((xml) => {
    const [serviceType, controlUrl] = [textOf(xml, 'serviceType'), textOf(xml, 'controlURL')];
    return serviceType !== undefined && controlUrl !== undefined && WAN_SERVICES.includes(serviceType)
      ? [{ serviceType, controlUrl }]
      : [];
  });
  return services.sort((a, b) => WAN_SERVICES.indexOf(a.serviceType) - WAN_SERVICES.indexOf(b.serviceType));
}

/** A SOAP 1.1 call of one action. */
export function soapCall(
  serviceType: string,
  action: string,
  parameters: Readonly<Record<string, string | number>>,
): string {
  const inner = Object.entries(parameters).map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`);
  return (
    '<?xml version="1.0"?>\n' +
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">' +
    `<s:Body><u:${action} xmlns:u="${serviceType}">${inner.join('')}</u:${action}></s:Body></s:Envelope>\r\n`
  );
}

function escapeXml(text: string): string {
  return text.replace(/[<>&]/g, (char) => `&#${char.charCodeAt(0)};`);
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ENTITIES[name] as string);
}
