// What the generated service does: it returns rows of a JSON file, or fails. ASP.NET reads the
// requests and writes the responses. service.py describes the file, and generates the other part of
// the class, whose operations call Rows.

using System;
using System.Collections.Generic;
using System.Configuration;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Web;
using System.Web.Script.Serialization;
using System.Web.Services.Protocols;
using Fields = System.Collections.Generic.Dictionary<string, object>;

public partial class IntegrationService {
    static readonly string folder = ConfigurationManager.AppSettings["data"];
    static readonly object guard = new object();
    static Fields data;
    static DateTime written;

    T[] Rows<T>(string operation, object parameters, ref WSException exception) {
        var arguments = parameters.GetType().GetProperties()
            .ToDictionary(one => one.Name, one => one.GetValue(parameters));
        lock (guard) {
            Load();
            Log(operation, arguments);
        }
        exception = null;
        if (WSUserValue == null || WSUserValue.UserName != (string)data["user_name"]
                || WSUserValue.Password != (string)data["password"])
            throw Refusal("[InvalidLogonAttempt] Invalid user name or password.");
        var subject = arguments.Where(one => one.Key.EndsWith("ID"))
            .Select(one => one.Value.ToString()).SingleOrDefault() ?? "account";
        object fault;
        if (((Fields)data["faults"]).TryGetValue(operation + " " + subject, out fault)) {
            Fail((string)fault, operation, ref exception);
            return null;
        }
        var subjects = arguments.ContainsKey("MsgIDs")
            ? ((int[])arguments["MsgIDs"]).Select(one => one.ToString()) : new[] { subject };
        var reports = (Fields)((Fields)data["reports"])[operation];
        var rows = subjects.Where(reports.ContainsKey)
            .SelectMany(one => ((object[])reports[one]).Cast<Fields>());
        if (arguments.ContainsKey("StartDate")) {
            DateTime start = (DateTime)arguments["StartDate"], end = (DateTime)arguments["EndDate"];
            rows = rows.Where(row => Wall(row["at"]) >= start && Wall(row["at"]) < end);
        }
        if (arguments.ContainsKey("Page")) {
            var size = (int)data["page_size"];
            rows = rows.Skip(((int)arguments["Page"] - 1) * size).Take(size);
        }
        var page = rows.Select(row => (T)As(typeof(T), "", row["columns"])).ToArray();
        // .NET leaves the element of a null out.
        return page.Length == 0 && !(bool)data["empty_results"] ? null : page;
    }

    static void Load() {
        var path = Path.Combine(folder, "data.json");
        if (File.GetLastWriteTimeUtc(path) == written)
            return;
        var serializer = new JavaScriptSerializer { MaxJsonLength = int.MaxValue };
        data = (Fields)serializer.DeserializeObject(File.ReadAllText(path));
        written = File.GetLastWriteTimeUtc(path);
    }

    // Writes what ASP.NET read. The format shows a date's fraction and its offset, if it has any.
    void Log(string operation, Fields arguments) {
        var read = arguments.ToDictionary(one => one.Key, one => one.Value is DateTime
            ? ((DateTime)one.Value).ToString("yyyy-MM-ddTHH:mm:ss.FFFFFFFK") : one.Value);
        var user = WSUserValue == null ? null : new[] { WSUserValue.UserName, WSUserValue.Password };
        var line = new JavaScriptSerializer().Serialize(new { operation, arguments = read, user });
        File.AppendAllText(Path.Combine(folder, "log.jsonl"), line + "\n");
    }

    // Values

    static DateTime Instant(object text) {
        return DateTime.Parse(
            (string)text, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal);
    }

    // The process runs in the account's time zone.
    static DateTime Wall(object text) {
        return DateTime.SpecifyKind(Instant(text).ToLocalTime(), DateTimeKind.Unspecified);
    }

    static object As(Type type, string name, object value) {
        if (type == typeof(DateTime)) {
            switch ((string)data["date_kind"]) {
                case "Utc": return Instant(value);
                case "Local": return Instant(value).ToLocalTime();
                default: return Wall(value);
            }
        }
        if (type == typeof(string) && name.EndsWith("Date"))
            return Wall(value).ToString(
                (string)data["date_format"], CultureInfo.GetCultureInfo("en-US"));
        if (type.IsArray) {
            var items = (object[])value;
            var array = Array.CreateInstance(type.GetElementType(), items.Length);
            for (var place = 0; place < items.Length; place++)
                array.SetValue(As(type.GetElementType(), name, items[place]), place);
            return array;
        }
        if (type.IsEnum)
            return Enum.Parse(type, (string)value);
        if (!(value is Fields))
            return Convert.ChangeType(value, type, CultureInfo.InvariantCulture);
        var made = Activator.CreateInstance(type);
        foreach (var one in (Fields)value) {
            var property = type.GetProperty(one.Key);
            property.SetValue(made, As(property.PropertyType, one.Key, one.Value));
        }
        return made;
    }

    // Faults

    static SoapException Refusal(string text) {
        return new SoapException(text, SoapException.ServerFaultCode);
    }

    void Fail(string fault, string operation, ref WSException exception) {
        if (fault.StartsWith("["))
            throw Refusal(fault);
        switch (fault) {
            case "unhandled exception":
                throw new InvalidOperationException("Sequence contains no elements");
            case "no permission":
                throw new UnauthorizedAccessException("User does not have permission.");
            case "WSException":
                exception = new WSException {
                    SoapMethod = operation, DateTime = DateTime.Now, Description = "Timeout expired."
                };
                break;
            default:
                Context.Items["fault"] = fault;
                break;
        }
    }
}

// Replaces a response by what a web server sends in place of one.
public class Site : HttpApplication {
    protected void Application_EndRequest(object sender, EventArgs arguments) {
        var fault = (string)Context.Items["fault"];
        if (fault == null)
            return;
        Context.Items.Remove("fault");
        Response.ClearContent();
        if (fault == "error page")
            throw new HttpException("The session state is not available.");
        if (fault == "redirect") {
            Response.Redirect("~/login.aspx", false);
            return;
        }
        Response.StatusCode = int.Parse(fault);
        Response.ContentType = "text/plain";
        if (fault == "404") {
            Response.ContentType = "text/html";
            Response.WriteFile("~/404.html");
        }
    }
}
